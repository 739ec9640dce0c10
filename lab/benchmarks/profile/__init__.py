"""The profile of one request: by thread under load, and step by step."""
