"""PyInstaller's hook: the models and the demo photograph, and the rooms that Mien imports when they are first used."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

# A frozen program that uses one of these imports it by name, and PyInstaller follows; all others do without their packages.
EXTRAS = ("mien.batch", "mien.client", "mien.engines.", "mien.serve", "mien.train", "mien._pyinstaller")

datas = collect_data_files("mien", excludes=["serve/**"])
hiddenimports = collect_submodules("mien", filter=lambda name: not name.startswith(EXTRAS))
