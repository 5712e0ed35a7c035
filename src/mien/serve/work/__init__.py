"""What runs behind the routes: batches of photos, live streams, and videos in the background."""
