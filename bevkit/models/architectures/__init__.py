"""Where the parts are joined, through the registry."""
