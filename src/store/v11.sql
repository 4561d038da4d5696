-- The summaries of a channel, as JSON: when they are due, which is done, and the one that is being delivered.

ALTER TABLE alert_channels ADD COLUMN summary TEXT;
