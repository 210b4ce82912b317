<?php
// Answers the requests of promises.pl.

declare(strict_types=1);

$dsn = sprintf('pgsql:host=%s;port=%s;dbname=%s;user=%s', ...array_map(getenv(...), ['PGHOST', 'PGPORT', 'PGDATABASE', 'PGUSER']));
// PgBouncer before 1.21 knows nothing of prepared statements.
$db = new PDO($dsn, options: [PDO::PGSQL_ATTR_DISABLE_PREPARES => true]);
$pay = (require __DIR__ . '/payments.php')($db);

while (($line = fgets(STDIN)) !== false) {
    [$key, $customer, $amount] = explode(' ', trim($line));
    try {
        [$status, $body] = $pay($key, $customer, ['amount' => (int) $amount]);
    } catch (PDOException $error) {
        [$status, $body] = [Idempotent::statusOf($error), ['title' => $error->getMessage()]];
    }
    echo $status, ' ', json_encode($body), "\n";
}
