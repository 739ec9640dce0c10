"""The installed command `sira`, and `sira.client` for services that call the API."""
