"""CoDraw: picture stories that people told over clip art; its scenes, how they are drawn, and what a picture of it shows."""
