-- What the owner says of a device.

ALTER TABLE devices ADD COLUMN own_name TEXT;
ALTER TABLE devices ADD COLUMN note TEXT;
