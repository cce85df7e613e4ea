# mypy: ignore-errors
"""Gajim, logged in and shown an ad-hoc command, for a picture. Run by the distribution's Python.

    gajim_driver.py DIRECTORY JID PASSWORD SERVER COMPONENT NODE

Gajim itself does everything that is seen; this only presses its buttons. It writes "shown" when
the answer is on the screen, and ends with its input. Gajim does not run as root.
"""

import os
import sys
import threading

DIRECTORY, JID, PASSWORD, SERVER, COMPONENT, NODE = sys.argv[1:]
ACCOUNT = "picture"
ACCOUNT_SETTINGS = {
    "name": JID.partition("@")[0],
    "hostname": JID.partition("@")[2],
    "password": PASSWORD,
    "savepass": True,
    "use_custom_host": True,
    "custom_host": SERVER,
    "custom_port": 5222,
    "custom_type": "PLAIN",
    "use_plain_connection": True,
    "confirm_unencrypted_connection": False,
    "sync_with_global_status": True,
    "autoconnect": True,
    "active": True,
    "enable_security_labels": False,
}
WIDTH, HEIGHT = 1180, 420


def prepare() -> None:
    """An account, as the assistant for new ones would leave it."""
    import gi

    gi.require_version("Gtk", "3.0")
    gi.require_version("GtkSource", "4")
    from gajim.common import app, configpaths
    from gajim.common.settings import Settings

    configpaths.set_config_root(DIRECTORY)
    configpaths.init()
    configpaths.create_paths()
    settings = Settings()
    settings.init()
    app.settings = settings
    for name, value in (
        ("use_keyring", False),
        ("check_for_update", False),
        ("show_main_window_on_startup", "always"),
        ("plugins_repository_enabled", False),
    ):
        settings.set_app_setting(name, value)
    settings.add_account(ACCOUNT)
    for name, value in ACCOUNT_SETTINGS.items():
        settings.set_account_setting(ACCOUNT, name, value)
    settings.shutdown()


class Presser:
    """Goes one step further each time that it is asked, where Gajim is ready for it."""

    def __init__(self) -> None:
        self.window = None
        self.step = self.open

    def __call__(self) -> bool:
        following = self.step()
        if following is not None:
            self.step = following
        return True

    def open(self):
        from gajim.common import app
        from gajim.gtk.adhoc import AdHocCommands

        if not app.account_is_connected(ACCOUNT):
            return None
        app.window.hide()
        self.window = AdHocCommands(ACCOUNT, COMPONENT)
        self.window.resize(WIDTH, HEIGHT)
        self.window.move(10, 10)
        return self.choose

    def choose(self):
        if self.window.get_current_page() != "commands":
            return None
        page = self.window.get_page("commands")
        for row in page._treeview.get_model():
            if row[1] == f"{COMPONENT}:{NODE}":
                page._treeview.get_selection().select_iter(row.iter)
                self.window._on_execute()
                return self.shown
        raise LookupError(f"Gajim does not list {NODE}")

    def shown(self):
        if self.window.get_current_page() not in ("completed", "stage", "error"):
            return None
        print("shown", flush=True)
        return self.rest

    def rest(self):
        return None


def main() -> None:
    """Run Gajim until the input ends."""
    from gajim import gajim

    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    sys.argv = ["gajim", "--config-path", DIRECTORY]
    gajim._check_required_deps()
    gajim._init_gui("GTK")
    from gi.repository import GLib

    GLib.timeout_add(300, Presser())
    gajim._run_app()


if os.fork() == 0:
    prepare()
    sys.exit()
if os.wait()[1]:
    sys.exit("no account could be prepared")
main()
