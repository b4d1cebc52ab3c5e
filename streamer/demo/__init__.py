"""The demo clip: one actor, four known emotions, one mismatch of face and voice."""
