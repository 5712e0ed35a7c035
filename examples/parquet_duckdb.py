"""Queries Parquet records with SQL: how long did each person show each expression? Needs duckdb.

    mien video talk.mp4 --output talk.parquet
    python examples/parquet_duckdb.py talk.parquet

Each frame lasts until the next frame. Uncertain answers are counted as 'not sure'. A glob such as 'job/**/*.parquet' also works.
"""

import sys

import duckdb

QUESTION = """
with frames as (
    select source, time_s, lead(time_s) over (partition by source order by time_s) - time_s as seconds
    from (select distinct source, time_s from read_parquet($records) where error_code is null)
)
select source, track_id as person, if(uncertain, 'not sure', top) as label,
       round(sum(seconds), 2) as seconds, round(avg(confidence), 2) as confidence
from read_parquet($records) join frames using (source, time_s)
where face_index is not null
group by all order by source, person, seconds desc
"""

if len(sys.argv) < 2:
    sys.exit(__doc__)
answer = duckdb.execute(QUESTION, {"records": sys.argv[1]})
print("\t".join(column[0] for column in answer.description))
for row in answer.fetchall():
    print("\t".join(map(str, row)))
