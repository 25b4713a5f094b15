"""The network of `zero_shot`, trained on synthetic demand; its weights ship with the package."""
