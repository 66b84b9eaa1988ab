"""Where conf/ is, and how a configuration is composed, checked and built: Hydra's only reader beside commands."""
