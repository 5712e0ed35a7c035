"""Input media: photos, videos, cameras and downloads."""
