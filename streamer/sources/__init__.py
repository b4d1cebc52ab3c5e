"""Where media comes from. Every source keeps the contract of `streamer.types.Source`."""
