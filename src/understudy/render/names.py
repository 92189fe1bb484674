"""Names of what we make in a kernel."""

from understudy.config.plan import Group, Plan, Router


def link_name(plan: Plan, group: Group, router: Router) -> str:
    """Such as `us1n2v4`: group 1 on the second network of the file, IPv4. At most 15 characters, the kernel's limit."""
    position = next(place for place, network in enumerate(plan.networks, start=1) if network.name == router.network)
    return f"us{group.number}n{position}v{router.family}"
