"""`ray start` calls this before it starts anything, where `RAY_START_HOOK` names it."""

from ray._private.parameter import RayParams


def without_client_server(params: RayParams, head: bool) -> None:
    """No Ray Client server: a batch job has no use for it, it listens on the cluster's network, and no option of
    `ray start` turns it off."""
    params.ray_client_server_port = None
