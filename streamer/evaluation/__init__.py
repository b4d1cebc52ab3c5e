"""How good the tables are, measured against known emotions."""
