# One image for all nodes of a cluster, on Ray's own: Python 3.11, Ray 2.60.0, its launcher's tools, user `ray`.
# The same file serves CPU and GPU nodes: torch's wheels bring CUDA along, and run without it.
FROM rayproject/ray:2.60.0-py311

COPY --chown=ray:users . /home/ray/emolabel
RUN pip install --no-cache-dir --constraint /home/ray/emolabel/constraints.txt '/home/ray/emolabel[train]' \
    && emolabel --help > /dev/null
WORKDIR /home/ray/emolabel
