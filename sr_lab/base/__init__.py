"""What knows nothing of images, networks or runs."""
