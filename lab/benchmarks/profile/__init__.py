"""Where the microseconds of one request go: by thread under load, and by stage on the request's line."""
