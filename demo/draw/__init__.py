"""The Draw tab: draw a defect on a good picture and watch the score."""
