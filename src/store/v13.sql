-- A hub and its sites may be of two releases: in which form the rows of a copy have arrived.

-- In a hub's copy: the hub's own version and the site's tables with their columns, as JSON (src/store/site_copy.rs). NULL
-- at a site, and in a copy of a version that knew one form only.
ALTER TABLE succession ADD COLUMN form TEXT;
