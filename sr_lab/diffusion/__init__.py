"""The mathematics of diffusion for restoration: schedules and samplers, as the papers write them."""
