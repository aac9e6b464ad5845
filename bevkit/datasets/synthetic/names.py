"""The official nuScenes scene names, so that the devkit's own splits find the synthetic scenes."""

from __future__ import annotations

MINI_TRAIN = (
    "scene-0061",
    "scene-0553",
    "scene-0655",
    "scene-0757",
    "scene-0796",
    "scene-1077",
    "scene-1094",
    "scene-1100",
)
MINI_VAL = ("scene-0103", "scene-0916")
_TRAIN = (
    "1-2 4-11 19-34 41-76 120-135 138-139 149-152 154-155 157-168 170-185 187-188 190-196 199-200 202-204 206-214 "
    "218-220 222 224-264 283-306 315-318 321 323-324 328 347-386 388-403 405-408 410-459 461-465 467-469 471-472 "
    "474-480 499-502 504-515 517-518 525-539 541-546 566 568 570-578 580 582-600 639-679 681 683-689 695-698 "
    "700-701 703-719 726-728 730-731 733-741 744 746-747 749-752 757-765 767-769 786-787 789-792 803-806 808-813 "
    "815-817 819-822 847-856 858 860-866 868-873 875-878 880 882-903 945 947 949 952-953 955-961 975-984 988-992 "
    "994-1025 1044-1058 1074-1102 1104-1110 "
)
_VAL = (
    "3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 632-638 770-771 775 "
    "777-778 780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 1059-1073 "
)
VERSIONS = ("v1.0-mini", "v1.0-trainval")


def _spell(ranges: str) -> list[str]:
    """Spells out "3 12-14" as scene-0003, scene-0012, scene-0013, scene-0014."""
    found = []
    for part in ranges.split():
        low, _, high = part.partition("-")
        found += [f"scene-{number:04d}" for number in range(int(low), int(high or low) + 1)]
    return found


def scene_names(count: int, version: str | None) -> tuple[str, list[str]]:
    """Picks official names for `count` scenes, about one in five held out; says which version they make up.

    Raises:
        ValueError: the count does not fit the version.
    """
    if version is None:
        version = VERSIONS[0] if count <= len(MINI_TRAIN) + len(MINI_VAL) else VERSIONS[1]
    if version not in VERSIONS:
        raise ValueError(
            f"world: expected version {' or '.join(VERSIONS)}, got {version!r}; leave it out to have it chosen."
        )
    train, val = (MINI_TRAIN, MINI_VAL) if version == VERSIONS[0] else (_spell(_TRAIN), _spell(_VAL))
    most = len(train) + len(val)
    if not 1 <= count <= most:
        raise ValueError(
            f"world: expected 1 to {most} scenes for {version}, got {count}; "
            "ask for fewer, or make several worlds with different seeds."
        )
    held_out = min(len(val), max(1, round(count / 5))) if count > 1 else 0
    held_out = max(held_out, count - len(train))
    return version, [*train[: count - held_out], *val[:held_out]]
