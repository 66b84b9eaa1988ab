"""sr_lab: a training and MLOps research framework for super-resolution."""
