//! Databases as applications make them: their schemas, with a few rows, come back whole.

use super::round_trip;

#[test]
fn a_geopackage_comes_back() {
    round_trip(
        "PRAGMA application_id = 1196444487; PRAGMA user_version = 10300;
         CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY,
             organization TEXT NOT NULL, organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
         CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
             description TEXT DEFAULT '', last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
             min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
             CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
         CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL,
             geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
             CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name), CONSTRAINT uk_gc_table_name UNIQUE (table_name));
         CREATE TABLE gpkg_tile_matrix (table_name TEXT NOT NULL, zoom_level INTEGER NOT NULL, matrix_width INTEGER NOT NULL,
             CONSTRAINT pk_ttm PRIMARY KEY (table_name, zoom_level));
         CREATE TRIGGER gpkg_tile_matrix_zoom_level_insert BEFORE INSERT ON gpkg_tile_matrix FOR EACH ROW BEGIN
             SELECT RAISE(ABORT, 'zoom_level cannot be less than 0') WHERE (NEW.zoom_level < 0); END;
         CREATE TABLE points (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom POINT, name TEXT(40), height MEDIUMINT);
         CREATE VIRTUAL TABLE rtree_points_geom USING rtree(id, minx, maxx, miny, maxy);
         INSERT INTO gpkg_spatial_ref_sys VALUES ('WGS 84', 4326, 'EPSG', 4326, 'GEOGCS[...]', NULL), ('none', -1, 'NONE', -1, '', '');
         INSERT INTO gpkg_contents(table_name, data_type, identifier, last_change, min_x, srs_id)
             VALUES ('points', 'features', 'points', '2026-01-01T00:00:00Z', -1.5, 4326);
         INSERT INTO gpkg_geometry_columns VALUES ('points', 'geom', 'POINT', 4326, 0, 0);
         INSERT INTO gpkg_tile_matrix VALUES ('tiles', 1, 2), ('tiles', 0, 1);
         INSERT INTO points(geom, name, height) VALUES (x'47500001e6100000', 'Rysy', 2501), (NULL, 'Łomnica', '2634.0');
         INSERT INTO rtree_points_geom VALUES (1, 20, 20.1, 49, 49.2);
         CREATE TRIGGER rtree_points_geom_delete AFTER DELETE ON points WHEN old.geom NOT NULL BEGIN
             DELETE FROM rtree_points_geom WHERE id = OLD.fid; END;
         CREATE VIEW st_spatial_ref_sys AS SELECT srs_name, srs_id FROM gpkg_spatial_ref_sys;",
    );
}

#[test]
fn map_tiles_and_calendars_of_lines_come_back() {
    round_trip(
        "CREATE TABLE metadata (name text, value text); CREATE UNIQUE INDEX name ON metadata (name);
         CREATE TABLE map (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_id TEXT);
         CREATE TABLE images (tile_data BLOB, tile_id TEXT);
         CREATE UNIQUE INDEX map_index ON map (zoom_level, tile_column, tile_row);
         CREATE UNIQUE INDEX images_id ON images (tile_id);
         CREATE VIEW tiles AS SELECT map.zoom_level AS zoom_level, map.tile_column AS tile_column, map.tile_row AS tile_row,
             images.tile_data AS tile_data FROM map JOIN images ON images.tile_id = map.tile_id;
         INSERT INTO metadata VALUES ('format', 'pbf'); INSERT INTO images VALUES (randomblob(9000), 'a1'), (zeroblob(0), 'b2');
         INSERT INTO map VALUES (0, 0, 0, 'a1'), (1, 0, 1, 'b2'), (1, 1, 1, 'b2');
         CREATE TABLE ZEVENT (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZSTART TIMESTAMP, ZTITLE VARCHAR, ZDATA BLOB);
         CREATE TABLE Z_PRIMARYKEY (Z_ENT INTEGER PRIMARY KEY, Z_NAME VARCHAR, Z_SUPER INTEGER, Z_MAX INTEGER);
         CREATE INDEX ZEVENT_ZSTART_INDEX ON ZEVENT (ZSTART COLLATE BINARY ASC);
         INSERT INTO ZEVENT VALUES (1, 1, 1, 700000000.5, 'a', x'62706c697374'), (2, 1, 3, 700000001, NULL, NULL);
         INSERT INTO Z_PRIMARYKEY VALUES (1, 'Event', 0, 2);",
    );
}

#[test]
fn a_reference_manager_comes_back() {
    round_trip(
        "PRAGMA user_version = 120; PRAGMA page_size = 4096;
         CREATE TABLE version (schema TEXT PRIMARY KEY, version INT NOT NULL);
         CREATE TABLE libraries (libraryID INTEGER PRIMARY KEY, type TEXT NOT NULL, editable INT NOT NULL);
         CREATE TABLE items (itemID INTEGER PRIMARY KEY, itemTypeID INT NOT NULL,
             dateAdded TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, libraryID INT NOT NULL, key TEXT NOT NULL,
             version INT NOT NULL DEFAULT 0, synced INT NOT NULL DEFAULT 0, UNIQUE (libraryID, key),
             FOREIGN KEY (libraryID) REFERENCES libraries(libraryID) ON DELETE CASCADE);
         CREATE INDEX items_synced ON items(synced);
         CREATE TABLE itemDataValues (valueID INTEGER PRIMARY KEY, value UNIQUE);
         CREATE TABLE itemData (itemID INT, fieldID INT, valueID, PRIMARY KEY (itemID, fieldID),
             FOREIGN KEY (itemID) REFERENCES items(itemID) ON DELETE CASCADE);
         CREATE TABLE syncCache (libraryID INT NOT NULL, key TEXT NOT NULL, syncObjectTypeID INT NOT NULL, version INT NOT NULL,
             data TEXT, PRIMARY KEY (libraryID, key, syncObjectTypeID, version));
         CREATE TRIGGER fki_items BEFORE INSERT ON items FOR EACH ROW WHEN NEW.key = '' BEGIN SELECT RAISE(ABORT, 'key'); END;
         INSERT INTO version VALUES ('userdata', 120), ('system', 31); INSERT INTO libraries VALUES (1, 'user', 1);
         INSERT INTO items(itemTypeID, dateAdded, libraryID, key) VALUES (2, '2026-01-01', 1, 'ABCD2345'), (14, '2026-01-02', 1, 'WXYZ6789');
         INSERT INTO itemDataValues(value) VALUES (2026), ('2026'), ('Über Łódź'), (x'00'), (1.5);
         INSERT INTO itemData VALUES (1, 110, 3), (1, 14, 1), (2, 110, 2);
         INSERT INTO syncCache VALUES (1, 'ABCD2345', 3, 7, '{\"a\":1}'), (1, 'ABCD2345', 3, 12, '{}');",
    );
}

#[test]
fn a_web_application_comes_back() {
    round_trip(
        "PRAGMA foreign_keys = OFF; CREATE TABLE \"django_migrations\" (\"id\" integer NOT NULL PRIMARY KEY AUTOINCREMENT, \"app\" varchar(255) NOT NULL,
             \"name\" varchar(255) NOT NULL, \"applied\" datetime NOT NULL);
         CREATE TABLE \"auth_user\" (\"id\" integer NOT NULL PRIMARY KEY AUTOINCREMENT, \"password\" varchar(128) NOT NULL,
             \"is_superuser\" bool NOT NULL, \"username\" varchar(150) NOT NULL UNIQUE, \"last_login\" datetime NULL);
         CREATE TABLE \"django_session\" (\"session_key\" varchar(40) NOT NULL PRIMARY KEY, \"session_data\" text NOT NULL,
             \"expire_date\" datetime NOT NULL);
         CREATE TABLE \"shop_item\" (\"id\" char(32) NOT NULL PRIMARY KEY, \"price\" decimal NOT NULL, \"count\" integer unsigned NOT NULL
             CHECK (\"count\" >= 0), \"data\" text NOT NULL CHECK ((JSON_VALID(\"data\") OR \"data\" IS NULL)),
             \"total\" decimal GENERATED ALWAYS AS (CAST((\"price\" * \"count\") AS NUMERIC)) STORED,
             \"name\" text GENERATED ALWAYS AS ((JSON_EXTRACT(\"data\", '$.name'))) VIRTUAL,
             \"owner_id\" integer NOT NULL REFERENCES \"auth_user\" (\"id\") DEFERRABLE INITIALLY DEFERRED);
         CREATE INDEX \"django_session_expire_date_a5c62663\" ON \"django_session\" (\"expire_date\");
         CREATE INDEX \"shop_item_owner\" ON \"shop_item\" (\"owner_id\");
         CREATE UNIQUE INDEX \"one_name\" ON \"shop_item\" (\"name\") WHERE \"count\" > 0;
         INSERT INTO django_migrations(app, name, applied) VALUES ('shop', '0001_initial', '2026-01-01 00:00:00');
         INSERT INTO auth_user(password, is_superuser, username) VALUES ('!', 1, 'admin'), ('!', 0, 'ann');
         DELETE FROM auth_user WHERE id = 2;
         INSERT INTO django_session VALUES ('zz', 'e30', '2026-02-01'), ('aa', 'e30', '2026-01-01');
         INSERT INTO shop_item(id, price, count, data, owner_id) VALUES ('00ff', '12.50', 3, '{\"name\": \"pen\"}', 1),
             ('abcd', 7, 1, '{\"name\": null}', 1), ('0001', '0.1', 0, '{}', 99);",
    );
}

#[test]
fn a_card_collection_and_a_package_database_come_back() {
    round_trip(
        "CREATE TABLE col (id integer PRIMARY KEY, crt integer NOT NULL, conf text NOT NULL);
         CREATE TABLE notes (id integer PRIMARY KEY, guid text NOT NULL, mid integer NOT NULL, tags text NOT NULL,
             flds text NOT NULL, sfld integer NOT NULL, csum integer NOT NULL, data text NOT NULL);
         CREATE TABLE cards (id integer PRIMARY KEY, nid integer NOT NULL, did integer NOT NULL, due integer NOT NULL);
         CREATE TABLE graves (oid integer NOT NULL, type integer NOT NULL, usn integer NOT NULL, PRIMARY KEY (oid, type)) WITHOUT ROWID;
         CREATE TABLE deck_config (id integer PRIMARY KEY NOT NULL, name text NOT NULL COLLATE NOCASE, config blob NOT NULL);
         CREATE INDEX ix_notes_csum ON notes (csum); CREATE INDEX ix_cards_sched ON cards (did, due);
         CREATE INDEX idx_notes_mid ON notes (mid) WHERE mid > 0;
         INSERT INTO col VALUES (1, 1700000000, '{}');
         INSERT INTO notes VALUES (1700000000001, 'g1', 5, ' a b ', 'front' || char(31) || 'back', '007', 1, ''), (2, 'g2', 5, '', 'x', 'x', 2, '');
         INSERT INTO cards VALUES (1, 2, 1, 5), (2, 2, 1, 1); INSERT INTO graves VALUES (7, 1, -1), (7, 0, -1), (5, 2, 0);
         INSERT INTO deck_config VALUES (1, 'Default', x'0a0b');
         CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);
         CREATE TABLE Name (key TEXT NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, FOREIGN KEY (hnum) REFERENCES Packages(hnum));
         CREATE INDEX Name_key_idx ON Name(key ASC); CREATE INDEX Name_hnum_idx ON Name(hnum ASC);
         INSERT INTO Packages(blob) VALUES (randomblob(50000)), (x''); INSERT INTO Name VALUES ('bash', 1, 0), ('zsh', 2, 0);",
    );
}
