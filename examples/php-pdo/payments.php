<?php
// A payments service.

declare(strict_types=1);

require_once __DIR__ . '/idempotent.php';

// Stands in for your authentication.
function customer(): string
{
    return preg_replace('/^Bearer /', '', $_SERVER['HTTP_AUTHORIZATION']);
}

function pay(PDO $db): Answer
{
    $order = json_decode(file_get_contents('php://input'));
    $statement = $db->prepare('INSERT INTO payments (customer, amount) VALUES (?, ?) RETURNING *');
    $statement->execute([customer(), $order->amount]);
    $payment = $statement->fetchObject();
    return new Answer(201, $payment, ['Location' => "/payments/$payment->id"]);
}

$dsn = sprintf('pgsql:host=%s;port=%s;dbname=%s;user=%s', ...array_map(getenv(...), ['PGHOST', 'PGPORT', 'PGDATABASE', 'PGUSER']));
// PgBouncer before 1.21 does not support prepared statements.
$idempotent = new Idempotent(new PDO($dsn, options: [PDO::PGSQL_ATTR_DISABLE_PREPARES => true]), customer(...));

if ($_SERVER['REQUEST_METHOD'] === 'POST' && parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) === '/payments') {
    $idempotent->run('payments', pay(...));
}
