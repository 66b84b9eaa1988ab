"""Sweeps: trials that workers pull from one shared queue and run as child processes."""
