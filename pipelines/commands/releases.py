"""Commands that move the champion, and those of whose word counts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipelines.commands.frame import SuggestingGroup, Text, current_settings, json_option, present

root_option = click.option(
    "--root", type=Text(), default="", help="The root key's fingerprint; SHOPLOOM_ROOT_FINGERPRINT by default."
)
key_option = click.option("--key", type=Text(), help="A private key to sign with; this machine's own by default.")


@click.command()
@click.argument("version", type=Text())
@click.option(
    "--override", metavar="REASON", type=Text(), default="", help="Let it out although gate or approval say no."
)
@key_option
@root_option
@json_option
def promote(version: str, override: str, key: str | None, root: str, as_json: bool) -> None:
    """Make VERSION champion: signatures, bytes, verdict and approval are verified first.

    An override is signed, and shown wherever the version is; nothing overrides a broken signature or a changed byte.
    """
    from dataclasses import asdict

    from pipelines.lineage.promotions import promote_version

    moved = promote_version(current_settings(), version, override, Path(key) if key else None, root)
    text = f"version {moved.champion} is champion: {moved.why}"
    present(asdict(moved), as_json, lambda _, console: console.print(text, markup=False, soft_wrap=True))


@click.command()
@click.argument("version", type=Text())
@click.option("--key", required=True, type=Text(), help="The approver's private key.")
@click.option("--reason", type=Text(), default="", help="Why, in your words.")
@root_option
@json_option
def approve(version: str, key: str, reason: str, root: str, as_json: bool) -> None:
    """Sign that VERSION may be promoted; the key has to be an approver's, and not the trainer's."""
    from pipelines.lineage.promotions import approve_version

    name = approve_version(current_settings(), version, Path(key), reason, root)
    text = f"version {version} is approved by {name}\n  -> shoploom promote {version}"
    present({"version": version, "approver": name}, as_json, lambda _, console: console.print(text, markup=False))


@click.command()
@click.argument("version", type=Text(), required=False)
@json_option
def rollback(version: str | None, as_json: bool) -> None:
    """Give the alias champion back to the version that held it before, or to VERSION; it is verified first."""
    from dataclasses import asdict

    from pipelines.lineage.promotions import roll_back_version

    moved = roll_back_version(current_settings(), version)
    text = f"champion is version {moved.champion} again; version {moved.previous} is the previous one"
    present(asdict(moved), as_json, lambda _, console: console.print(text))


@click.command()
@click.argument("version", type=Text())
@root_option
@json_option
def verify(version: str, root: str, as_json: bool) -> None:
    """Check all that speaks for VERSION: signatures, every byte, verdict, approval, run, data and the audit log."""
    from dataclasses import asdict

    from pipelines.lineage.verify_deep import draw_standing, verify_all

    standing = verify_all(current_settings(), version, root)
    present(asdict(standing) if as_json else standing, as_json, draw_standing)
    if standing.broken:
        sys.exit(1)


@click.group(cls=SuggestingGroup, invoke_without_command=True)
@json_option
@click.pass_context
def keys(ctx: click.Context, as_json: bool) -> None:
    """Show the keys that sign here; make one, or turn to a new one."""
    if ctx.invoked_subcommand is None:
        from pipelines.lineage.keys import ring

        found = list(ring(current_settings()))
        text = "\n".join(found) or "none yet: the first training makes one"
        present({"keys": found}, as_json, lambda _, console: console.print(text))


@keys.command("new")
@click.argument("file", type=Text())
def new_pair(file: str) -> None:
    """Make a key pair of an approver or a root: FILE, for its owner alone, and FILE.pub."""
    from pipelines.lineage.keys import new_key

    made = new_key(Path(file))
    click.echo(f"{file} and {file}.pub, fingerprint {made.fingerprint}")


@keys.command("rotate")
def rotate_keys() -> None:
    """Turn to a new signing key, endorsed by the one before, which goes on verifying what it signed."""
    from pipelines.lineage.keys import rotate

    click.echo(f"key {rotate(current_settings()).fingerprint} signs from now on")


@keys.command("sign")
@click.argument("version", type=Text())
def sign_version(version: str) -> None:
    """Sign a VERSION that an older shoploom registered: you vouch that it is what its run made."""
    from pipelines.lineage.adopt import adopt_version

    click.echo(f"version {version} is signed: release {adopt_version(current_settings(), version)[:12]}")


@click.group(cls=SuggestingGroup, invoke_without_command=True)
@root_option
@json_option
@click.pass_context
def policy(ctx: click.Context, root: str, as_json: bool) -> None:
    """Show who may approve, by the policy that the root key signed; change it."""
    if ctx.invoked_subcommand is None:
        from dataclasses import asdict

        from pipelines.lineage.policy import asked_root, draw_policy, read_policy

        settings = current_settings()
        found = read_policy(settings, asked_root(settings, root))
        present((asdict(found) if found else None) if as_json else found, as_json, draw_policy)


@policy.command()
@click.argument("name", type=Text())
@click.argument("key", type=Text())
@click.option("--role", required=True, type=click.Choice(["approver", "trainer"]), help="What the key may sign.")
@click.option("--until", type=Text(), default="", help="Last day on which its signatures count: 2027-01-31.")
@click.option("--root-key", required=True, type=Text(), help="The root's private key.")
def trust(name: str, key: str, role: str, until: str, root_key: str) -> None:
    """Add NAME with the public KEY to the policy, or give them another key."""
    from pipelines.lineage.keys import load_key
    from pipelines.lineage.policy import change_policy, person

    made = change_policy(current_settings(), load_key(Path(root_key)), trust=person(name, Path(key), role, until))
    click.echo(f"policy {made.number}: {name} is {role}; root {made.root}")


@policy.command()
@click.argument("name", type=Text())
@click.option("--root-key", required=True, type=Text(), help="The root's private key.")
def revoke(name: str, root_key: str) -> None:
    """Take NAME out of the policy; what they approved counts no more."""
    from pipelines.lineage.keys import load_key
    from pipelines.lineage.policy import change_policy

    made = change_policy(current_settings(), load_key(Path(root_key)), revoke=name)
    click.echo(f"policy {made.number}: without {name}")


@policy.command()
@click.argument("rule", type=click.Choice(["none", "required"]))
@click.option("--root-key", required=True, type=Text(), help="The root's private key.")
def approval(rule: str, root_key: str) -> None:
    """Say whether a promotion needs an approval, whatever params.yaml says: RULE is none or required."""
    from pipelines.lineage.keys import load_key
    from pipelines.lineage.policy import change_policy

    made = change_policy(current_settings(), load_key(Path(root_key)), approval=rule)
    click.echo(f"policy {made.number}: approval {made.approval}")


COMMANDS = (
    promote,
    approve,
    rollback,
    verify,
    keys,
    policy,
)
