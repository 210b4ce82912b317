<?php
declare(strict_types=1);

/**
 * Runs a handler once for each key; its answers are a status and a body.
 *
 * Claim, work and answer are one transaction.  An exception rolls all of it
 * back, and a retry runs the handler again.
 */
final class Idempotent
{
    public function __construct(private PDO $db, private string $operation, private Closure $handler)
    {
    }

    public function __invoke(string $key, string $customer, array $request): array
    {
        $claimed = [$key, "$this->operation/$customer"];
        $this->db->beginTransaction();
        try {
            $statement = $this->db->prepare('SELECT * FROM idempotency.claim(?, ?, ?)');
            $statement->execute([...$claimed, json_encode($request)]);
            $claim = $statement->fetchObject();
            if ($claim->outcome === 'replay') {
                $answer = [$claim->status_code, json_decode($claim->response)];
            } elseif (!$claim->proceed) {
                $answer = [$claim->status_code, ['title' => $claim->outcome]];
            } else {
                $answer = ($this->handler)($this->db, $customer, $request);
                $this->db->prepare('SELECT idempotency.complete(?, ?, ?, status_code => ?)')
                    ->execute([...$claimed, json_encode($answer[1]), $answer[0]]);
            }
            $this->db->commit();
            return $answer;
        } catch (Throwable $error) {
            $this->db->rollBack();
            throw $error;
        }
    }

    /** The HTTP status that the extension's SQLSTATEs end in. */
    public static function statusOf(PDOException $error): int
    {
        return str_starts_with($error->getCode(), 'IK') ? (int) substr($error->getCode(), 2) : 500;
    }
}
