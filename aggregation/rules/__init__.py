"""The rules, one file each; `aggregation.registry` lists them."""
