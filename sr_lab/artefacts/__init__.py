"""Networks on disk: artefacts, and what was made of others."""
