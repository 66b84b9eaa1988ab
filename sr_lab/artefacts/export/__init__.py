"""Networks in the formats of other runtimes, with a manifest, and the bundle that restores without PyTorch."""
