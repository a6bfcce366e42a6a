"""The broker: routes frames between actors by their names. It reads headers, never bodies, and owns no disk."""
