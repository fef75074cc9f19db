"""What products are, as their shop describes them, and the place that this gives to those with few events or none."""
