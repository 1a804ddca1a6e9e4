/** One conversation of the past. */
export default function ConversationPage({ id }: { readonly id: string }) {
  return (
    <div className="page">
      <h1>Conversation</h1>
      <p>{id}</p>
    </div>
  );
}
