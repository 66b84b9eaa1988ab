"""The model registry: versions, aliases, the ledger of its changes, decisions."""
