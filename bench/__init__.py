"""Side-by-side timings: `make bench`. Tests never assert a time; these figures are for reading."""
