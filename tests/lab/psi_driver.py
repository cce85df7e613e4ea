# mypy: ignore-errors
"""Psi, logged in and shown an ad-hoc command, for a picture. Run by the distribution's Python.

    psi_driver.py DIRECTORY JID PASSWORD SERVER COMPONENT TITLE

It finds Psi's widgets by the names that Psi gives to screen readers (AT-SPI), and clicks on them as
a mouse does. It writes "shown" when the answer is on the screen, and ends with its input.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402

DIRECTORY, JID, PASSWORD, SERVER, COMPONENT, TITLE = sys.argv[1:]
PROFILE = "picture"
ACCOUNT = {
    "enabled": ("bool", "true"),
    "auto": ("bool", "true"),
    "name": ("QString", JID.partition("@")[0]),
    "jid": ("QString", JID),
    "resource": ("QString", "psi"),
    "use-host": ("bool", "true"),
    "host": ("QString", SERVER),
    "port": ("int", "5222"),
    "ssl": ("QString", "no"),
    "allow-plain": ("QString", "always"),
}
OPTIONS = '<options><ui><tip><show type="bool">false</show></tip></ui></options>'
LOOK_S = 0.2
DISCOVERY, GAP = "Service Discovery", 10


def prepare() -> None:
    """A profile with an account, as its dialogs would leave it."""
    profile = Path(DIRECTORY, "profiles", PROFILE)
    profile.mkdir(parents=True)
    # Psi keeps a password as the exclusive or with the JID, a character in four hex digits.
    key = (JID * len(PASSWORD))[: len(PASSWORD)]
    hidden = "".join(f"{ord(a) ^ ord(b):04x}" for a, b in zip(PASSWORD, key, strict=True))
    settings = {**ACCOUNT, "password": ("QString", hidden)}
    account = "".join(f'<{n} type="{t}">{value}</{n}>' for n, (t, value) in settings.items())
    for name, root, inside in (
        ("accounts", "accounts", f"<accounts><a0>{account}</a0></accounts>"),
        ("options", "psi", OPTIONS),
    ):
        text = f'<!DOCTYPE {root}><{root} xmlns="http://psi-im.org/options" version="1.5">{inside}'
        (profile / f"{name}.xml").write_text(f"{text}</{root}>")


def windows():
    """Psi's windows by title."""
    desktop = Atspi.get_desktop(0)
    programs = [desktop.get_child_at_index(i) for i in range(desktop.get_child_count())]
    for program in programs:
        if program is not None and program.get_name() == "Psi":
            program.set_cache_mask(Atspi.Cache.NONE)
            return {window.get_name(): window for window in children(program)}
    return {}


def children(widget):
    found = (widget.get_child_at_index(i) for i in range(widget.get_child_count()))
    return [child for child in found if child is not None]


def search(widget, role, name):
    """The first widget of this role and name, of any name where that is None."""
    if widget.get_role_name() == role and name in (None, widget.get_name()):
        return widget
    found = (search(child, role, name) for child in children(widget))
    return next((each for each in found if each is not None), None)


def wait_for(look):
    """What `look` finds in the end; who started this loses patience first."""
    while True:
        with contextlib.suppress(GLib.Error):  # a window that closes while it is looked at
            found = look()
            if found is not None:
                return found
        pause(LOOK_S)


def pause(seconds) -> None:
    """Wait, and take in what Psi says of its widgets meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        while GLib.MainContext.default().iteration(False):
            pass
        time.sleep(0.02)


def ready(title, role, name=None):
    """A widget of the window whose title begins so, once it can be clicked on."""

    def look():
        for each, window in windows().items():
            widget = search(window, role, name) if each.startswith(title) else None
            if widget is not None and usable(widget):
                return widget
        return None

    return wait_for(look)


def usable(widget):
    states = widget.get_state_set()
    wanted = (Atspi.StateType.ENABLED, Atspi.StateType.SHOWING)
    return all(states.contains(state) for state in wanted)


def click(widget):
    at = widget.get_extents(Atspi.CoordType.SCREEN)
    xdotool("mousemove", at.x + min(30, at.width // 2), at.y + at.height // 2, "click", 1)


def xdotool(*words):
    done = subprocess.run(
        ["xdotool", *map(str, words)], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.split()


def show_answer() -> None:
    """What a user does, from Psi's menu to the answer."""
    menu = wait_for(lambda: windows().get("Psi"))
    item = wait_for(lambda: search(menu, "menu item", DISCOVERY))
    while DISCOVERY not in windows():  # it does nothing until Psi is online
        item.do_action(0)
        pause(LOOK_S * 5)
    click(ready(DISCOVERY, "table cell", COMPONENT))
    click(ready(DISCOVERY, "push button", "Execute command"))
    asking = f"Execute Command ({COMPONENT})"
    click(ready(asking, "combo box"))
    click(ready(asking, "list item", TITLE))
    wait_for(lambda: search(windows()[asking], "combo box", TITLE))
    click(ready(asking, "push button", "Execute"))
    ready(TITLE, "push button")


def arrange() -> None:
    """The answer beside what it was asked from, and nothing else."""
    [listed] = xdotool("search", "--onlyvisible", "--name", "^Psi$")
    xdotool("windowunmap", listed)
    [asked] = xdotool("search", "--onlyvisible", "--name", f"^{DISCOVERY}$")
    xdotool("windowmove", asked, GAP, GAP)
    [answer] = xdotool("search", "--onlyvisible", "--name", f"^{TITLE} ")
    wide = windows()[DISCOVERY].get_extents(Atspi.CoordType.SCREEN).width
    xdotool("windowmove", answer, wide + 2 * GAP, GAP)


def end_with_input(psi) -> None:
    sys.stdin.read()
    psi.kill()
    os._exit(0)


def main() -> None:
    """Run Psi until the input ends."""
    prepare()
    surroundings = {**os.environ, "PSIDATADIR": DIRECTORY, "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1"}
    psi = subprocess.Popen(
        ["psi", f"--profile={PROFILE}"], env=surroundings, stderr=subprocess.DEVNULL
    )
    threading.Thread(target=end_with_input, args=(psi,), daemon=True).start()
    try:
        # Psi 1.5 tells nothing to a registry that is older than itself; asking for it starts one.
        xdotool("search", "--sync", "--onlyvisible", "--name", "^Psi$")
        Atspi.init()
        show_answer()
        arrange()
        print("shown", flush=True)
        psi.wait()
    finally:
        psi.kill()


main()
