"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

type_path = click.Path(path_type=Path)
PATIENCE = 15.0  # that of tinyodl.device.link, which loads slowly

json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout, everything else on stderr."
)
port_option = click.option(
    "--port",
    metavar="PORT|virtual|qemu|host",
    help="Serial device or pyserial URL, or a board that needs no hardware. "
    "Without it, the one serial device whose USB ids fit the board.",
)
patience_option = click.option(
    "--patience", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    default=PATIENCE, show_default=True,
    help="How long to go on where the line brings nothing but damage or silence.",
)  # fmt: skip
radio_ua_option = click.option(
    "--radio-ua", type=float, metavar="UA",
    help="Compare with sending the samples away over a radio that takes so many microamperes, "
    "with --radio-bps.  [default: the board's, if it has one]",
)  # fmt: skip
radio_bps_option = click.option(
    "--radio-bps", type=float, metavar="BPS", help="Bits of user data a second that it sends."
)
project_argument = click.argument("project", metavar="DIR", type=type_path)
