"""Which commands of a page are played."""

from tests.lab.pages import PACKAGE, PIP, commands, of

PAGE = f"""\
# A page
```sh
first
# no heading
```
### {PACKAGE}
```sh
apt
```
#### further
```sh
deeper
```
### {PIP}
```sh
pip
```
```
said, not typed
```
## Then
```sh
last
```
"""


def test_all_is_typed_where_nothing_is_left_out() -> None:
    assert of(PAGE).split("\n")[:-1] == ["first", "# no heading", "apt", "deeper", "pip", "last"]


def test_a_section_is_left_out_with_what_is_below_it() -> None:
    assert of(PAGE, [PACKAGE]).split() == ["first", "#", "no", "heading", "pip", "last"]
    assert of(PAGE, [PIP]).split() == ["first", "#", "no", "heading", "apt", "deeper", "last"]


def test_the_pages_have_the_sections_that_replays_choose_from() -> None:
    for page in ("install-prosody", "install-ejabberd", "upgrading", "uninstall"):
        for way in (PACKAGE, PIP):
            assert len(commands(page, [way])) < len(commands(page)), (page, way)
