"""The demo clip: one actor, five known emotions, one mismatch of face and voice."""
