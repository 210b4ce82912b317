<?php
declare(strict_types=1);

require_once __DIR__ . '/idempotent.php';

function pay(PDO $db, string $customer, array $request): array
{
    $statement = $db->prepare('INSERT INTO payments (customer, amount) VALUES (?, ?) RETURNING *');
    $statement->execute([$customer, $request['amount']]);
    return [201, $statement->fetch(PDO::FETCH_ASSOC)];
}

return fn (PDO $db) => new Idempotent($db, 'payments', pay(...));
