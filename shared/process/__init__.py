"""What every process of the system needs, whatever it does."""
