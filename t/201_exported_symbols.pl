# The library exports the functions that the SQL script names and the entry
# points of its workers, and nothing that could clash with another library.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'the library was not built here' unless -e 'idempotency.so';
plan skip_all => 'there is no nm' if system('command -v nm >/dev/null') != 0;

command_ok([ 'test/exports.sh', 'idempotency.so' ], 'the library exports what it must, and no more');

done_testing();
