CREATE TABLE IF NOT EXISTS cdn_access_statistic (
  province VARCHAR(64) PRIMARY KEY,
  access_count BIGINT NOT NULL,
  total_download BIGINT,
  download_speed DOUBLE
)
