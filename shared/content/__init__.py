"""What products are, as their shop describes them, and the place that gives to those that have few events or none."""
