<?php
// The service for promises.pl, with handlers that go wrong.

declare(strict_types=1);

require __DIR__ . '/payments.php';

if (preg_match('~^/payments/(\w+)~', $_SERVER['REQUEST_URI'], $match)) {
    $idempotent->run('payments', function (PDO $db) use ($match) {
        $answer = pay($db);
        return match ($match[1]) {
            'commit' => $db->query('COMMIT') ? $answer : null,
            'caught' => (function () use ($db) {
                try {
                    $db->query('SELECT 1/0');
                } catch (PDOException) {
                    return new Answer(409, ['title' => 'taken']);
                }
            })(),
            'nothing' => new Answer(204),
            'unavailable' => new Answer(503, $answer->body),
            'error' => throw new Exception('broken'),
        };
    });
}
