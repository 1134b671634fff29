"""Other people's files as text of the catalog: read, check, write YAML. Nothing here reaches the network."""
