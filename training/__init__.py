"""From labelled clips to a bundle."""
