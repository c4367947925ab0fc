"""How it is computed: products, distances, sums and sorts over rows."""
